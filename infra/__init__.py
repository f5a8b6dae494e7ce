"""What is deployed to Azure: Bicep, azd and its hooks. Nothing of it runs in the app."""
